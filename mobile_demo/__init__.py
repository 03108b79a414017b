"""What people see: the dashboard that turns records into an answer (the phone page comes beside it)."""
