"""Loaded before any test module, and so before torch."""

from utils.system.script import limit_spinning

limit_spinning()
