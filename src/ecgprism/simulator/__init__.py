"""A physiological 12-lead ECG simulator: `simulate(index)` gives a recording and what is true of it.

A moving heart dipole (sums of Gaussians over the beat; atria, ventricles and repolarisation apart; McSharry et al.
2003, doi:10.1109/tbme.2003.808805; Sameni et al. 2007, doi:10.1155/2007/43407) is seen by nine electrodes through a
torso (Dower et al. 1980, doi:10.1002/clc.1980.3.2.87); the limb leads are derived, so that Einthoven's and
Goldberger's relations hold exactly.
"""
