"""Bring low-bit weights into other libraries."""
