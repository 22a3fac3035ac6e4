"""Communication between processes: the pipes of workers, their messages, the control socket."""
