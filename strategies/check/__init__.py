"""Whether a strategy is what it says: the checks that every strategy of this project passes, for any other, too.

headtohead check lora                        one of this folder
headtohead check my_strategy.py              a file of your own
headtohead check my_strategy.py --set my_strategy.r=4
"""
