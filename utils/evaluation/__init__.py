"""A trained network is judged: figures on lists of trials and on test utterances, with breakdowns."""
