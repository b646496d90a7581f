"""What a system withstands: kills, corruption; and what safety costs."""
