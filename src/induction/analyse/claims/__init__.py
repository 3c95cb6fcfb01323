"""The paper's claims, each judged by a rule that was written before the data was seen."""
