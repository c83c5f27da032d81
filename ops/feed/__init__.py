"""Ticks that the feed has told, told again to one queue."""
