"""Tables, figures and statistics of finished runs, from their records alone."""
