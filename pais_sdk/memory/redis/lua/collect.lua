-- Drop more of what a deletion left to be dropped; say whether there is still more.
return collect(AT_ONCE) and 1 or 0
