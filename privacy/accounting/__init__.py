"""What a run costs, and who has how much left."""
