"""What processes tell each other: worker pipes, their messages, and the control socket."""
