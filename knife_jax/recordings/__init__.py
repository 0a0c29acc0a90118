"""Episodes that one can watch: what a team did, and what its networks said."""
