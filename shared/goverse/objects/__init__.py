"""The object model: compiles an application's classes into the specs that nodes and gates use."""
