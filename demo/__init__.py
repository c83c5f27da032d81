"""The main job from nothing, for a person who looks on: `make demo`."""
