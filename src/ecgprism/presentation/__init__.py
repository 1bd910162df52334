"""What people see: pictures and the terminal."""
