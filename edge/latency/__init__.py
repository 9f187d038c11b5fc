"""Latency reports: whole models against their opponents, on one device."""
