"""Speed: whole models against their opponents."""
