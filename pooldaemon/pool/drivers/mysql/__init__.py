"""mysqlclient, for MySQL and MariaDB."""
