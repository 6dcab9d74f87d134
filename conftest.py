"""Loaded before any test module, and so before torch."""

from utils.runtime import limit_spinning

limit_spinning()
