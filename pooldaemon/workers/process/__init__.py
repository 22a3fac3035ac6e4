"""What a Unix process needs: pidfile, log files, signals, detaching. Knows no workers."""
