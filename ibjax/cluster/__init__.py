"""An ensemble in pieces: blocks of seeds trained by an executor's workers, or here, and the folder they are kept in."""
