"""What any Unix daemon needs: pidfile, log files, signals, detaching. Knows nothing of workers."""
