"""What `scripts/chaos` does: kills, power cuts, broken disks and clocks, and what became of every 250."""
