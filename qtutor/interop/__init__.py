"""What talks to the files of other programs."""
