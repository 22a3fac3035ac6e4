"""What SQL statements and the stored code behind them may leave on a session. Imports no driver."""
