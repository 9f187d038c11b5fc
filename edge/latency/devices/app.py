"""A phone on which the app (android_demo) measured by itself: its reports are read, nothing is run."""

from __future__ import annotations

from edge.latency.devices.device import DeviceKind

KIND = DeviceKind("app", "measured by the app, within its own process", None)
