-- Give a session back.
give_back(ARGV[3])
