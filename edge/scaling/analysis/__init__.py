"""Say what the records of a sweep show, in words, tables and pictures."""
