"""What people hold in their hands: the `pais` command."""
