"""Update rules: how one network is trained, step by step. Their options are in `ibjax.schedule`."""
