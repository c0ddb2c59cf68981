"""How many candidates a coordinator keeps up with, whatever their training costs."""
