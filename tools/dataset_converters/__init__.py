"""Tools that write data sets: from the files that their authors give to those that training reads."""
