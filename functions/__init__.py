"""Thin handlers for FaaS platforms: each hands its event to the host of its role."""
