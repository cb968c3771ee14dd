"""`lorajobs up`: every process of the system on one machine, in one supervised group."""
