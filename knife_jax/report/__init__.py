"""What finished runs come to: from their rows alone."""
