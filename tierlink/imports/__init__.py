"""Readers of foreign data: what they would register is planned first, then sent."""
