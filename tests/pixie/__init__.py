"""Tests of Pixie."""
