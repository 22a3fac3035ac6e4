"""What SQL statements, and the stored code behind them, may leave on a session. Asks no driver."""
