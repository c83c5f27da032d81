"""Followers of ticks: where each stands; to let one start anew, to forget one that is gone."""
