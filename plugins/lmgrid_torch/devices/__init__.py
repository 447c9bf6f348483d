"""Devices that torch supports: NVIDIA, AMD and Apple graphics processors."""
