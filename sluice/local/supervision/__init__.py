"""Child processes: started, watched, restarted, and ended without a trace."""
