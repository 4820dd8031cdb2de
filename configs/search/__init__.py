"""Configs of architecture searches."""
