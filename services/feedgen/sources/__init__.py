"""Where candidates come from: what is known of the user, and what each kind of source makes of it."""
