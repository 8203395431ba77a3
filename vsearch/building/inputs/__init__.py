"""What a build is given: vectors, attributes and ids, from arrays, frames and files, in bounded memory."""
