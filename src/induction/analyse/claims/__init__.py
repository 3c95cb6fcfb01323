"""The paper's claims, each judged by a rule; amendments after the first judgement stand with the rule."""
