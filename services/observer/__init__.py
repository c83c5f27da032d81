"""When each object was last seen online: sightings in, an API asked, rows that expire."""
