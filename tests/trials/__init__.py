"""Learning trials: experiments that take minutes each; run by hand, never by CI."""
