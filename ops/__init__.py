"""What a person at the deployment needs: see, ask, repair. `python -m ops --help`."""
