"""Keys of a run and of a step: agreement, masks, encryption, opening."""
