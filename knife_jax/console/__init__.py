"""What every program shares: how it begins and ends, what it prints, and what it never prints."""
