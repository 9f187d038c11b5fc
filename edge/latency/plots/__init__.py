"""The plots of a latency report, as inline SVG for light and dark pages and for print."""
