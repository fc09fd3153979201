"""Whether a strategy is what it says: the checks that every strategy of this project passes, for any other, too.

python -m strategies.check lora                        one of this folder
python -m strategies.check my_strategy.py              a file of your own
python -m strategies.check my_strategy.py --set my_strategy.r=4
"""
