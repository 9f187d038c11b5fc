"""Devices that programs run on: one file each, one row each in ``open.py``."""
